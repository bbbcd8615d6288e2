"""The nouns of the store in SQL, written once for every database that a driver of this package reaches."""
