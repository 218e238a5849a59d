"""`study`: runs that depend on each other, and what they are held against.

records, declared, expected: the file. steps: what is to be run, by digests. cost: counted before.
launch, slurm: running it. measured: figures of runs. claims: verdicts by rules on intervals.
command: all of it, from the command line.
"""
