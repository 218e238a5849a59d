"""report.html: one page that needs no network and no server."""

from snn_lightning.reporting.page.page import write_page

__all__ = ["write_page"]
