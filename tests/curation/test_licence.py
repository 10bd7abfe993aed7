import pytest

from curation.licence import Licence, classify


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (["CC BY-NC 4.0"], Licence.NON_COMMERCIAL),
        (["CC BY-NC-SA 3.0"], Licence.NON_COMMERCIAL),
        (["Apache 2.0", "CC BY-NC-ND 4.0"], Licence.NON_COMMERCIAL),
        (["Non-commercial use only"], Licence.NON_COMMERCIAL),
        (["Unknown"], Licence.UNKNOWN),
        ([], Licence.UNKNOWN),
        (["Apache 2.0", "Unknown"], Licence.UNKNOWN),
        (["Apache 2.0"], Licence.ALLOWED),
        (["CC BY-SA 4.0"], Licence.ALLOWED),
        (["OANC"], Licence.ALLOWED),
        (["CDLA Permissive 2.0"], Licence.ALLOWED),
    ],
)
def test_the_strictest_licence_counts(raw: list[str], expected: Licence) -> None:
    assert classify(raw) is expected
