"""Other programs' formats: one file for each, export and import side by side."""
