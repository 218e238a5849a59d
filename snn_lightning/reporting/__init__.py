"""Tables, pictures, files and the page, from plain records."""
