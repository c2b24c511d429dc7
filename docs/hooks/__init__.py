"""What the documentation site makes from the code while it is built (`make docs`), and what its tests use.

| file          | what it is                                                                                       |
|---------------|--------------------------------------------------------------------------------------------------|
| site          | the hook that mkdocs calls: generated pages, files of results, the explorer                      |
| notebooks     | notebooks as pages, with the outputs that are kept in them                                       |
| executing     | makes these outputs: python -m docs.hooks.executing                                              |
| sample        | makes the sample report: python -m docs.hooks.sample                                             |
| examples      | a page for each example, with the file itself                                                    |
| commands      | a page for each verb, from its --help                                                            |
| losses        | the page of the losses, from their definitions                                                   |
| formulas      | equations as drawings that need no script                                                        |
| theme         | names for screen readers that the theme's own HTML lacks                                         |
| docstrings    | the project's docstrings as Markdown, for the pages of the API                                   |
| blocks        | the code blocks of a page                                                                        |
"""
