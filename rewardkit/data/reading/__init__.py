"""What formats are made of: rows of annotation files, their fields, and the statements that they become."""
