"""Git repositories, asked from outside of any job: git with a constructed configuration, plugins and their lock."""
