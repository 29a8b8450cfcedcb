"""The processes of a run: how they were started, are stopped and end, and the memory they keep."""
