"""The frozen data that flows through the stages. Imports nothing heavy."""
