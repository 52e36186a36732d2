"""The statistics of a comparison between methods, as pure functions over one form of data frame.

The frame is tidy, one row per run, with these columns (others are ignored):

    cell    the setting within which methods are compared: task, model and budget, such as "digits/test_vit@0.9"
    method  the compared method
    seed    runs of one cell with the same seed are paired: same data order, same start
    score   higher is better; NaN: the run failed

Each (cell, method, seed) occurs once. A missing run is ignored. A failed run is a result without a score: it is excluded from
means, but statistics that use only the order (profiles, probabilities, ranks) treat it as worse than every score, so that
failures are never an advantage. With one seed there are no intervals and no letters.

    frame      checks the frame, and converts runs to pairs and strata
    bootstrap  interquartile mean, performance profile, probability of improvement, with stratified bootstrap intervals
    paired     tests of paired differences, Holm's correction, smallest detectable difference
    ranks      mean ranks over cells, Friedman's test, Nemenyi's critical difference
    groups     letters for methods that do not differ significantly within a cell
    summary    means with t intervals, Pareto fronts, hypervolumes
"""
