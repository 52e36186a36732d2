"""The statistics of a comparison between methods, as pure functions over one form of data frame.

The frame is tidy, one row per run, with these columns (others are ignored):

    cell    what is compared within: task, model and budget, such as "digits/test_vit@0.9"
    method  what is compared
    seed    runs of one cell with the same seed are paired: same data order, same start
    score   higher is better; NaN: the run failed

A (cell, method, seed) is there once. A run that is not there is unknown: nothing is said of it. One that failed is a result
without a score: it enters no mean, but what looks at order only (profiles, probabilities, ranks) takes it as worse than
every score, so that failing never helps. One seed gives no interval and no letters.

    frame      the form, and how runs become pairs and strata
    bootstrap  interquartile mean, performance profile, probability of improvement, with stratified bootstrap intervals
    paired     tests of paired differences, Holm's correction, the smallest difference that could have been detected
    ranks      mean ranks over cells, Friedman's test, Nemenyi's critical difference
    groups     letters for what cannot be told apart within a cell

Means with t intervals are `reports.statistics.summary.mean`.
"""
