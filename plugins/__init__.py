"""The bundled plugins; each folder is one family, found through the same entry points as any third party's."""
