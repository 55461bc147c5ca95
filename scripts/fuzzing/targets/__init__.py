"""One module a target.

Each has `open_check(folder)`, which opens what the target needs and returns its check, and either
`seeds()`, the inputs that atheris starts from, or `inputs()`, a hypothesis strategy of them.

A check takes the bytes of one input and returns whether they were accepted. A clear refusal is no
error; whatever it raises is a finding.
"""
