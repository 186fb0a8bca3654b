"""The World's rules, in Istio's words, to the mesh without dialect."""

from control.translate.mesh import Translated, translate
from control.translate.proxies import proxy_of

__all__ = ["Translated", "proxy_of", "translate"]
