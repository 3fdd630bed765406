"""Does a test fail for every small fault that is put into the key proof and into the checks of names and paths?

    make mutants                    all of it: a quarter of an hour on two idle processors
    make mutants ARGS='proof'       the modules whose path has this in it

`faults` makes the mutants, with Cosmic Ray's operators and four of our own; `campaign` runs the tests of the module on
each, in copies of the project; `explained` knows those that no test can tell from the original, from docs/mutants.md.
"""
