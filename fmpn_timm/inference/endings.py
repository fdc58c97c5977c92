"""Which files are pictures and videos, by the endings of their names."""

__all__ = ["HEIC", "NO_HEIC", "PICTURES", "VIDEOS"]

HEIC = (".heic", ".heif")
NO_HEIC = "HEIC is not read: save it as JPEG"
#: HEIC is among them, so that its mend is said and it is not passed over in silence.
PICTURES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
            ".pbm", ".pnm", ".jp2", ".avif", *HEIC)
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mpe", ".m2v", ".vob", ".ts", ".m2ts",
          ".mts", ".wmv", ".asf", ".flv", ".3gp", ".ogv")
