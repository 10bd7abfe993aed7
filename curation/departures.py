"""Departures: where a preset still differs from the source that it follows, for want of a word or a seed there.

    for departure in DEPARTURES["birbal-paper"]:
        print(departure)

What two presets choose differently stands in `curation.preset.differences`; this is what neither can choose.

Where it sits: beside preset; `oneday curate --diff` and the reference show it.
"""

from collections.abc import Mapping

_BOTH = (
    "kinds: the winner typed every task by hand and published no list; here the answers decide, or --kinds",
    "task list: the paper counts 463 tasks, the published list 462; only --task-list birbal takes it, else rules do",
    "draws: the winner's scripts have no seed; every draw here has one",
    "answers: at most 32 tokens for exact match is read off one published record, 128 for generation is this project's",
    "OpenBookQA: the instruction is the winner's; how its input lists the options was not published",
    "QuAC, CNN/DailyMail: the winner's rows were not published; wording and, for QuAC, one turn a dialogue are ours",
    "Open-Platypus: which parts count as written by a language model was not published; four are left out here",
    "MathInstruct: the three human-written parts of the script hold about 104,000 rows; the 700k mix asks for 200,000",
    "empty answers: they are in the mix as in the winner's, but training leaves out an answer without a single token",
    "duplicates: texts that differ in Unicode normalisation alone are one text",
)

DEPARTURES: Mapping[str, tuple[str, ...]] = {
    "recommended": (),
    "birbal-paper": (
        *_BOTH,
        "low accuracy: the paper gives no figure; candidates.min_accuracy removes exact-match tasks below 10 %",
        "exact match, strict: `==` on text up to the first blank line is the script's; the paper does not say",
        "generation: 40 and 10 % are read as shares of the target; a bucket that lacks rows is filled from the others",
        "validation: 2,000 rows of a scaled mix are scaled too, never below 64 or above a tenth of the rows",
    ),
    "birbal-scripts": (
        *_BOTH,
        "MathInstruct: the script reads `instruction` where the step before wrote `question`; ours finds it",
        "Open-Platypus: the script computes a length filter and throws it away; here the filter holds",
        "scaling: quotas per bucket are fixed rows; --scale shrinks the other sources alone",
    ),
}
"""Preset -> what it cannot take from its source."""
