"""Generation settings in image files: reading and writing PNG, JPEG and WebP, without I/O."""
