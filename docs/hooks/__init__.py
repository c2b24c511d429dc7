"""What the documentation site makes from the code while it is built (`make docs`), and what its tests use.

| file          | what it is                                                                                       |
|---------------|--------------------------------------------------------------------------------------------------|
| site          | the hook that mkdocs calls: generated pages, files of results, the explorer                      |
| commands      | a page for each verb, from its --help                                                            |
| losses        | the page of the losses, from their definitions                                                   |
| formulas      | equations as drawings that need no script                                                        |
| docstrings    | the project's docstrings as Markdown, for the pages of the API                                   |
| blocks        | the code blocks of a page                                                                        |
"""
