"""Every parser of the project, given what it does not expect. docs/fuzzing.md.

`target.py` says what a target is, `targets/` has all of them. `make test` tries each with a few hundred inputs
(test_parsers.py) and with all that was ever found (test_findings.py); `make fuzz` looks for more, guided by coverage.
"""
