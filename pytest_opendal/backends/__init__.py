"""How a storage is reached; opendal and Jumpstarter are imported only below here."""
