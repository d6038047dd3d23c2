from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("executions", "0002_adoptions"),
    ]

    operations = [
        migrations.AddField(
            model_name="execution",
            name="failures",
            field=models.PositiveSmallIntegerField(default=0),
        ),
    ]
