"""Final Cut Pro 7 XML (xmeml), as Final Cut and Premiere write it."""
