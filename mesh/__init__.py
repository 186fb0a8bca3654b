"""What every Remora process shares. No policy lives here."""
