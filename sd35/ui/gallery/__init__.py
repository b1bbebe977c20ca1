"""The library tab of the page: search, grid, viewer and what is done with images there."""
