"""Records: what runs and studies leave on disk, in a home and in a remote store."""
