"""The benchmark suite: ``python -m benchmarks``, in CI ``python -m benchmarks --short``.

What it claims are ratios between contenders measured in one run on one machine, never seconds.
A shared machine slows down and speeds up while it is measured, so contenders take turns: A B C,
then B C A, and so on (race.py). Each round gives a ratio of two neighbours in time; the table has
their median and, as noise, half of their interquartile range (verdicts.py).

pytest-benchmark runs one contender's rounds to the end before the next begins, which is what
can't be had here; so the turns are ours, and all else is pytest-benchmark's: the timer, the
statistics, the JSON, ``--benchmark-compare`` and the other options, and plain ``benchmark``
where nothing is compared. docs/benchmarks.md says what is measured.
"""
