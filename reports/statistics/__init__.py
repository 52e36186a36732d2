"""The statistics of a comparison between methods, as pure functions over one form of data frame.

The frame is tidy, one row per dense model (`reports.load.units`), with these columns (others are ignored):

    cell    the setting within which methods are compared: task, model and budget, such as "digits/test_vit@0.9"
    method  the compared method
    seed    that of the dense model; runs of one cell with the same seed are paired
    score   test accuracy in per cent, higher is better; NaN: a run failed

and, where they are known,

    pair     the data set and architecture of the cell: only pairs are independent, budgets of one model are not
    control  whether the method is a control, such as random pruning, which is never the best
    missed   whether a run missed the requested size
    dense    test accuracy of the dense model in per cent

Each (cell, method, seed) occurs once. A missing run is ignored. Failing never helps: a method with a failed run, or one off its
budget, forfeits bold and letters in that cell and has the last rank there, and the run is worse than every score wherever
runs are ordered. Below `LEAST` dense models there are no verdicts, no bold, and no letters.

    frame     checks the frame, and converts runs to pairs and strata
    verdicts  each method against a baseline: better, worse, equivalent or unresolved
    groups    the set of the best of a cell, and letters for methods that do not differ significantly
    overall   differences to dense and to a baseline over all cells
    ranks     mean ranks over pairs, Friedman's test, Nemenyi's critical difference
    shares    performance profile and probability of improvement, with score intervals
    paired    t test, Holm's correction, smallest detectable difference
    summary   means with t intervals, Pareto fronts, hypervolumes
"""
