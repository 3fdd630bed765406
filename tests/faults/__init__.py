"""The fault campaign: real programs, seeded combinations of faults, and what must hold at the end of each.

scenario     what is chosen from a seed: a place, a job, and faults at moments
world        the place, with the mediators in it, and how its peers are started
running      one process of a peer, and what it has said
faults       each fault, done and undone
disk, clock  what two of them need
playing      a scenario from its first process to its last
deadlines    how long a process may take, from the documented timers
observing    what was seen of a run, as plain data
leftovers    what a run has left behind
judging      what is wrong with that, in sentences
isolation    one run in namespaces of its own
__main__     many of them, side by side: `make faults`
"""
