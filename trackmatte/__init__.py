"""trackmatte: name an object once in a clip and get it back as masks, a matte, an alpha video or a render."""
