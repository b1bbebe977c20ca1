"""What a picture's file says of it: our record and other tools', into and out of PNG, WebP and JPEG. Pure."""
