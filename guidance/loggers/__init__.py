"""Where metrics are logged to, besides what Lightning has."""
