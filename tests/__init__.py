"""The tests of localgif. With TESTS_MASKED=1 they pretend not to be on Linux (support/masked.py)."""

from tests.support import masked

if masked.ON:
    masked.put_on()
