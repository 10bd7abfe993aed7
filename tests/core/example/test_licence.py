import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.example.licence import Licence, classify, spdx, spdx_expression
from curation.policies.licence import LicencePolicy

ALLOWED, NON_COMMERCIAL, UNKNOWN = Licence.ALLOWED, Licence.NON_COMMERCIAL, Licence.UNKNOWN

NI_SPELLINGS = {
    "AFL 3.0": ("AFL-3.0", ALLOWED),
    "Amazon License (https://s3.amazonaws.com/amazon-reviews-pds/license.txt)": ("NOASSERTION", UNKNOWN),
    "Apache": ("Apache-2.0", ALLOWED),
    "Apache 2.0": ("Apache-2.0", ALLOWED),
    "CC BY 3.0": ("CC-BY-3.0", ALLOWED),
    "CC BY 4.0": ("CC-BY-4.0", ALLOWED),
    "CC BY-NC 3.0": ("CC-BY-NC-3.0", NON_COMMERCIAL),
    "CC BY-NC 4.0": ("CC-BY-NC-4.0", NON_COMMERCIAL),
    "CC BY-NC-ND 4.0": ("CC-BY-NC-ND-4.0", NON_COMMERCIAL),
    "CC BY-NC-SA 3.0": ("CC-BY-NC-SA-3.0", NON_COMMERCIAL),
    "CC BY-NC-SA 4.0": ("CC-BY-NC-SA-4.0", NON_COMMERCIAL),
    "CC BY-SA": ("LicenseRef-CC-BY-SA", ALLOWED),
    "CC BY-SA 3.0": ("CC-BY-SA-3.0", ALLOWED),
    "CC BY-SA 4.0": ("CC-BY-SA-4.0", ALLOWED),
    "CC0: Public Domain": ("CC0-1.0", ALLOWED),
    "CCPL": ("NOASSERTION", UNKNOWN),
    "CDLA Permissive 2.0": ("CDLA-Permissive-2.0", ALLOWED),
    "Dedicated License (https://github.com/google-research-datasets/paws/blob/master/LICENSE)": (
        "NOASSERTION",
        UNKNOWN,
    ),
    "Dedicated License (https://github.com/nlpdata/dialogre/blob/master/license.txt)": ("NOASSERTION", UNKNOWN),
    "Dedicated Terms and Conditions (https://recipenlg.cs.put.poznan.pl/dataset)": ("NOASSERTION", UNKNOWN),
    "GFDL": ("GFDL-1.3-or-later", ALLOWED),
    "LibriVox: Public Domain (https://librivox.org/pages/public-domain/)": ("LicenseRef-PublicDomain", ALLOWED),
    "MIT": ("MIT", ALLOWED),
    "MSR-LA": ("NOASSERTION", NON_COMMERCIAL),
    "Microsoft Research Data License Agreement "
    "(https://msropendata-web-api.azurewebsites.net/licenses/2f933be3-284d-500b-7ea3-2aa2fd0f1bb2/view)": (
        "NOASSERTION",
        UNKNOWN,
    ),
    "OANC": ("LicenseRef-OANC", ALLOWED),
    "Public Domain": ("LicenseRef-PublicDomain", ALLOWED),
    "RACE license": ("NOASSERTION", NON_COMMERCIAL),
    "Unknown": ("NOASSERTION", UNKNOWN),
    "WordNet 3.0 license (https://wordnet.princeton.edu/license-and-commercial-use)": ("NOASSERTION", UNKNOWN),
}
"""Every spelling under "Instance License" of NI's files: its SPDX name, and what may be done with the text."""

OTHER_SPELLINGS = {
    "CC BY-NC-SA": ("LicenseRef-CC-BY-NC-SA", NON_COMMERCIAL),  # LIMA
    "Non-commercial": ("NOASSERTION", NON_COMMERCIAL),  # Open-Platypus, reclor
    "none given": ("NOASSERTION", UNKNOWN),
    "": ("NOASSERTION", UNKNOWN),
    "MIT-like": ("NOASSERTION", UNKNOWN),
    "not MIT": ("NOASSERTION", UNKNOWN),
    "cc-by-nc-4.0": ("CC-BY-NC-4.0", NON_COMMERCIAL),
    "cc-by-4.0": ("CC-BY-4.0", ALLOWED),
    " Apache-2.0 ": ("Apache-2.0", ALLOWED),
    "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0)": ("CC-BY-4.0", ALLOWED),
    "CC BY 4.0 with extra terms": ("NOASSERTION", UNKNOWN),
    "Non-commercial use only": ("NOASSERTION", NON_COMMERCIAL),
    "Creative Commons Attribution-NonCommercial 4.0": ("NOASSERTION", NON_COMMERCIAL),
    "For academic research only": ("NOASSERTION", NON_COMMERCIAL),
    "NCSA": ("NOASSERTION", UNKNOWN),  # an open licence whose name begins with NC
}


@pytest.mark.parametrize("raw", [*NI_SPELLINGS, *OTHER_SPELLINGS])
def test_a_spelling_has_one_spdx_name_and_one_class(raw: str) -> None:
    assert (spdx(raw), classify([raw])) == (NI_SPELLINGS | OTHER_SPELLINGS)[raw]


@pytest.mark.parametrize("raw", [*NI_SPELLINGS, *OTHER_SPELLINGS])
def test_small_letters_say_the_same(raw: str) -> None:
    assert (spdx(raw.lower()), classify([raw.lower()])) == (spdx(raw), classify([raw]))


@pytest.mark.parametrize("raw", ["Non commercial", "Not for commercial use", "Research-only"])
def test_commercial_use_is_barred_in_other_words_too(raw: str) -> None:
    assert classify([raw]) is Licence.NON_COMMERCIAL


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (["CC BY-NC 4.0"], Licence.NON_COMMERCIAL),
        (["CC BY-NC-SA 3.0"], Licence.NON_COMMERCIAL),
        (["Apache 2.0", "CC BY-NC-ND 4.0"], Licence.NON_COMMERCIAL),
        (["Unknown", "CC BY-NC 4.0", "MIT"], Licence.NON_COMMERCIAL),
        (["CC BY-SA 4.0", "MSR-LA", "RACE license", "Apache"], Licence.NON_COMMERCIAL),
        (["Non-commercial use only"], Licence.NON_COMMERCIAL),
        (["Unknown"], Licence.UNKNOWN),
        ([], Licence.UNKNOWN),
        (["Apache 2.0", "Unknown"], Licence.UNKNOWN),
        (["Apache 2.0"], Licence.ALLOWED),
        (["CC BY-SA 4.0"], Licence.ALLOWED),
        (["CC BY-SA", "GFDL"], Licence.ALLOWED),
        (["OANC"], Licence.ALLOWED),
        (["CDLA Permissive 2.0"], Licence.ALLOWED),
    ],
)
def test_the_strictest_licence_counts(raw: list[str], expected: Licence) -> None:
    assert classify(raw) is expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (["CC BY-SA", "GFDL"], "LicenseRef-CC-BY-SA AND GFDL-1.3-or-later"),
        (["MIT", "Apache 2.0", "MIT"], "MIT AND Apache-2.0"),
        (["Apache", "Apache 2.0"], "Apache-2.0"),
        (["Unknown"], "NOASSERTION"),
        ([], "NOASSERTION"),
    ],
)
def test_all_licences_of_a_file_make_one_expression(raw: list[str], expected: str) -> None:
    assert spdx_expression(raw) == expected


@pytest.mark.parametrize(
    ("policy", "refused"),
    [
        (LicencePolicy.ALL, set()),
        (LicencePolicy.COMMERCIAL, {Licence.NON_COMMERCIAL}),
        (LicencePolicy.KNOWN, {Licence.NON_COMMERCIAL, Licence.UNKNOWN}),
    ],
)
def test_a_policy_refuses_what_it_names(policy: LicencePolicy, refused: set[Licence]) -> None:
    assert {licence for licence in Licence if policy.refuses(licence)} == refused


def test_a_licence_and_its_spdx_name_are_of_one_class() -> None:
    """A name that is read again, as a hub card spells it, says the same; names of our own are not read again."""
    for name, expected in NI_SPELLINGS.values():
        if name.startswith("CC-BY"):
            assert (spdx(name), classify([name])) == (name, expected)


@pytest.mark.slow
def test_no_spelling_of_the_real_files_is_missing_from_the_table(shared_data: Path) -> None:
    files = sorted((shared_data / "natural-instructions" / "tasks").glob("*.json"))
    assert {raw for path in files for raw in instance_licences(path)} == set(NI_SPELLINGS)


def instance_licences(path: Path) -> Iterator[str]:
    yield from json.loads(path.read_bytes()).get("Instance License") or []
