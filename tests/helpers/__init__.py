"""What several test files build on: paths, made faces, sets and records, and a browser."""
