"""Runs inside the emulated environment: are the hashes those that libxcrypt gives?"""

from kit import Result, report

# Made by crypt(3) of libxcrypt, as Python 3.11's `crypt` calls it.
HASHES = {
    b"Kk4DQuMMfZL9o": b"$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm",
    b"wheels for Arm": b"$2b$06$abcdefghijklmnopqrstuuu5RkmXS5UogDPt8T41cmfZZNSnhYiCe",
    b"": b"$2b$04$zVHmKQtGGQob.b/Nc7l9NO8UlrYcW05FiuCj/SxsFO/ZtiN9.mNzy",
    "\u00fcber".encode(): b"$2b$05$/OK.fbVrR/bpIqNJ5ianF.w6cejOXLCEmZaVvN3Db0aF7V3yPtPuy",
}


def check_hashes() -> Result:
    import bcrypt

    wrong = [
        password for password, hashed in HASHES.items() if bcrypt.hashpw(password, hashed[:29]) != hashed
    ]
    return not wrong, f"{len(HASHES) - len(wrong)} of {len(HASHES)} as libxcrypt's"


def check_passwords() -> Result:
    import bcrypt

    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4))
    return bcrypt.checkpw(b"right", hashed) and not bcrypt.checkpw(b"wrong", hashed), "one taken, one refused"


if __name__ == "__main__":
    report({"hashes": check_hashes, "passwords": check_passwords}, vital="hashes")
