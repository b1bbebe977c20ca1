"""Types that every package uses: requests, events, errors, images. No I/O except atomic files."""
