"""From records to data frames, tables, figures and a page; never trains."""
