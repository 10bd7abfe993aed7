"""Departures: how a preset differs from its source because the source leaves something open.

    for departure in DEPARTURES["birbal-paper"]:
        print(departure)

`curation.preset.differences` lists the parameters in which two presets differ. Departures are not parameters.

Where it sits: beside preset; `oneday curate diff` and the reference show them.
"""

from collections.abc import Mapping

_BOTH = (
    "kinds: the winner typed every task by hand and published no list; here the answers decide, or `kinds=FILE`",
    "task list: the paper counts 463 tasks, the published list 462; it is used with `task_list=birbal` only",
    "draws: the winner's scripts have no seed; every draw here has one",
    "answers: 32 new tokens for exact match are inferred from one published record; 128 for generation are a guess",
    "OpenBookQA: the instruction is the winner's; how its input lists the options was not published",
    "QuAC, CNN/DailyMail: the winner's rows were not published; the wording and the choice of QuAC's turns are ours",
    "Open-Platypus: which parts count as written by a language model was not published; four are left out here",
    "MathInstruct: the three human-written parts of the script hold about 104,000 rows; the 700k mix asks for 200,000",
    "empty answers: the mix keeps them, as the winner's did, but training leaves out answers without a token",
    "duplicates: texts that differ only in Unicode normalisation count as one text",
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
        "scaling: quotas per bucket are fixed rows; `scale=` shrinks the other sources alone",
    ),
}
"""Preset -> how it departs from its source."""
