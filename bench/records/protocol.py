"""The version of the rules that make two records comparable.

1   the first
2   baselines are tuned as methods are; every opening of the test split is counted; starting weights declare their images; in
        a comparison a budget is a share of all parameters, for every method
"""

PROTOCOL = "2"
"""Records of different versions are never mixed: a study refuses runs of another version, and a report says where they are."""
