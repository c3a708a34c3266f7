"""The outcomes of all checks."""


class Report:
    """Counts and prints; a check is passed if it yields no problem."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, name, problems):
        """Notes one check with its problems, a line each."""
        problems = list(problems)
        if not problems:
            self.passed += 1
            print(f"  ok    {name}")
            return
        self.failed += 1
        print(f"  FAIL  {name}")
        for problem in problems:
            print(f"        {problem}")

    def close(self):
        print(f"\n{self.passed} passed, {self.failed} failed")
        return 0 if self.failed == 0 else 1
