from fmpn_timm.markdown import markdown_table


def test_a_title_a_column_and_a_line_a_row():
    table = markdown_table(["class", "n"], [["fear", "3"], ["`anger`", "2"]])

    assert table == "| class | n |\n|---|---|\n| fear | 3 |\n| `anger` | 2 |"


def test_a_table_without_titles_keeps_its_columns():
    assert markdown_table(["", ""], [["seed", "0"]]).splitlines() == ["|  |  |", "|---|---|", "| seed | 0 |"]
