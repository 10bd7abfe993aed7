"""Requests of `build`: a subcommand for each builder. They inherit the options of the builders."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from curation.builders.clean import CleanOptions
from curation.builders.feedback import FeedbackOptions
from curation.builders.mix import MixOptions
from curation.builders.preferences import PreferenceOptions
from curation.builders.table import TableOptions
from curation.builders.translate import TranslateOptions
from curation.builders.tree import ConversationOptions
from curation.builders.uniform import UniformOptions
from curation.builders.verdicts import VerdictOptions
from oneday.requests.engine import WithEngine
from oneday.requests.request import Redoing, Reporting


@dataclass(frozen=True, kw_only=True)
class BuildersRequest(Reporting):
    """Make training data from files of examples: mixes, preferences, feedback, translations.

    Without a subcommand it lists the builders. Each writes the rows, the dropped records with their reasons, and a
    manifest into a run folder.

    Example: oneday build mix --base english.jsonl --added finnish.jsonl --percent 10 --run runs/en-fi
    """


@dataclass(frozen=True, kw_only=True)
class BuildRequest(Redoing):
    """Base class of the subcommands of `build`."""

    kind: ClassVar[str]
    """Name of the builder."""
    run: Path
    """Run folder. The rows are in 01_rows."""


@dataclass(frozen=True, kw_only=True)
class BuildMixRequest(BuildRequest, MixOptions):
    """Mix all rows of one file with a share of another.

    Mixes are nested: the rows of 10 % are among those of 20 %. A share of 100 % joins two files.

    Examples: oneday build mix --base english.jsonl --added finnish.jsonl --percent 0 --percent 10 --run runs/en-fi
              oneday build mix --base pairs.jsonl#en --added pairs.jsonl#fi --run runs/both
    """

    kind = "mix"


@dataclass(frozen=True, kw_only=True)
class BuildUniformRequest(BuildRequest, UniformOptions):
    """Mix the same number of rows or tokens of each language.

    Example: oneday build uniform --data en=en.jsonl --data fr=fr.jsonl --data ru=ru.jsonl --run runs/uniform
    """

    kind = "uniform"


@dataclass(frozen=True, kw_only=True)
class BuildTableRequest(BuildRequest, TableOptions):
    """Join the files of a table that lists the expected number of rows.

    The build fails if a number differs.

    Example: oneday build table --table mixture.csv --run runs/mixture
    """

    kind = "table"


@dataclass(frozen=True, kw_only=True)
class BuildConversationsRequest(BuildRequest, ConversationOptions):
    """Extract the best-ranked conversation of each message tree.

    Example: oneday build conversations --data oasst1_messages.jsonl.gz --run runs/conversations
    """

    kind = "conversations"


@dataclass(frozen=True, kw_only=True)
class BuildPreferencesRequest(BuildRequest, PreferenceOptions):
    """Make pairs of a better and a worse answer from scores or rankings.

    Ties and pairs of equal texts are dropped and counted.

    Examples: oneday build preferences --data helpsteer2.jsonl.gz --score helpfulness --run runs/pairs
              oneday build preferences --data oasst1_messages.jsonl.gz --pairing best-rest --run runs/ranked
    """

    kind = "preferences"


@dataclass(frozen=True, kw_only=True)
class BuildFeedbackRequest(BuildRequest, FeedbackOptions):
    """Select the answers that people rated good, with their earlier turns as context.

    Other answers are dropped. They bear no loss in the context of a good answer.

    Examples: oneday build feedback --data chats.jsonl --run runs/feedback
              oneday build feedback --data chats.jsonl --mode merge --into sft.jsonl --run runs/merged
    """

    kind = "feedback"


@dataclass(frozen=True, kw_only=True)
class BuildVerdictsRequest(BuildRequest, VerdictOptions):
    """Select the documents of websites that a table accepts.

    A website is a registered domain by the public suffix list. Websites that are not listed are rejected.

    Example: oneday build verdicts --data crawl.jsonl.gz --verdicts sites.csv --tokenizer models/base --run runs/crawl
    """

    kind = "verdicts"


@dataclass(frozen=True, kw_only=True)
class BuildTranslateRequest(WithEngine, BuildRequest, TranslateOptions):
    """Translate rows line by line with a base model that is given examples.

    Code and white space are copied byte for byte. A row is dropped if one of its lines gets no translation. The same
    command resumes an interrupted build and repeats no request.

    Example: oneday build translate --data dolly.jsonl --to fi --shots-from shots.jsonl --base models/base --run runs/fi
    """

    kind = "translate"


@dataclass(frozen=True, kw_only=True)
class BuildCleanRequest(BuildRequest, CleanOptions):
    """Drop rows that break a rule about length, symbols, repetition or language.

    The rules about length need the source of the translation. The table counts the rows that break each rule.

    Example: oneday build clean --data dolly.jsonl.gz#fi --source dolly.jsonl.gz#en --language fi --run runs/clean
    """

    kind = "clean"
