"""Where bytes come from: folders of files."""
