"""From an architecture config to a project folder for the vendor's tools. docs/build.md says what is in one."""
