"""Tables: from data frames to Markdown, LaTeX and CSV."""
