"""What a release needs beside the code: built and tried archives, licences, recipes for conda and Docker.

| file             | what it is                                                                         |
|------------------|------------------------------------------------------------------------------------|
| dist             | `make dist`: builds wheel and sdist, looks into them, installs and uses the wheel  |
| contents         | what may be in the two archives, and what must                                     |
| smallest_use.py  | the smallest whole use of an installed circlet, with nothing but it                |
| requirements.txt | the pinned tools that build                                                        |
| brought          | what an installation brings: all that its requirements require                     |
| licences         | writes docs/licences.md                                                            |
| recipe.yaml      | for conda (rattler-build)                                                          |
| Dockerfile       | the service on a CPU                                                               |

RELEASING.md says in which order they are used. Nothing here is installed with the package.
"""
