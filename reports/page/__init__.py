"""The page, the article and the manual: one file each, from tables and figures."""
