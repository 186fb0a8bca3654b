"""The mesh's certificate authority: who may have a certificate, what stands in it, and the record that it was given."""
