"""`remora inject`: sidecars put into manifests, and taken out, with everything else of the text left as it is."""
