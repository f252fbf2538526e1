"""``python -m millpond.dbutils app.py`` runs a program with millpond in the place of DBUtils."""

from millpond.dbutils._run import main

if __name__ == "__main__":
    main()
