"""The only place where names become objects: settings in, trained runs, rankers and results out."""
